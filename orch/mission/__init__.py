"""The pure core: events, state, rules. No I/O, no clock, no randomness."""
