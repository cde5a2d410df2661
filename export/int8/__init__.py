"""How an fp32 graph becomes int8."""
