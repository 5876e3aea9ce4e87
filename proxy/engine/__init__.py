"""The calls: who calls whom, is it admitted, where does it go, when does it end. Pure."""
