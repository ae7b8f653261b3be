# Tests of annotate/evaluate/
