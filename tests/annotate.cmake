# Tests of annotate/
