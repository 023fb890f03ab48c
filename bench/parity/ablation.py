def cause(probe, found, dtype, checks):
    return ""
