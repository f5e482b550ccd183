"""What does the activation change: the gradients, the XOR, the digits, the fit of a curve?"""
