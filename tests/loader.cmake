# Tests of loader/
