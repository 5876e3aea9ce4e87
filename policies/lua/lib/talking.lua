-- Sets of calls that talk have changed: their sizes are read anew.
talking_out, talking_in = call('ZCARD', KEYS[4]), call('ZCARD', KEYS[5])
