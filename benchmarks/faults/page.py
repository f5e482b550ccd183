def write(x):
    return ""
