"""The database servers whose data can be copied and reset."""
