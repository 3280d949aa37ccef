"""The recipe that trains the natural-language hub (extra ``train``)."""
