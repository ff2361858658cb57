"""The waist: the protocol of records, the public operations over it, and the wrapper that forwards it."""
