module sieve1

go 1.19
