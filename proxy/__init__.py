"""The SIP proxy: protocol (sip), calls (engine), sockets (net), what operators see (ops), and what ties them up."""
