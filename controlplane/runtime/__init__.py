"""How the portal's processes start, live and end: checks before the start, first start, supervised parts."""
