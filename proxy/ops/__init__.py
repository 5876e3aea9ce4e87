"""What operators see: metrics, the metrics and control address, structured logs, one record a call."""
