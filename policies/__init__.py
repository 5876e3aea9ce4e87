"""Tariffs: which limits a payer has (pure) and the atomic admission of calls in Redis (limiter, lua/)."""
