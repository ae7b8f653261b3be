# Tests of annotate/dataset/
