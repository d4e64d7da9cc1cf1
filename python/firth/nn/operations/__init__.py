"""Operations, a page each: contract, derivation of backward, NumPy reference of both."""
