"""WHAT is declared: frozen values, standard library only."""
