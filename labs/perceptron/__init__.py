"""When does the perceptron rule converge, and what does the scale of its inputs change?"""
