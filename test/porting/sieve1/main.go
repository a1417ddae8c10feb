// SPDX-License-Identifier: MIT

// The prime sieve as a chain of goroutines: see sieve1.c.
package main

import "fmt"

const primes = 100

func generate(out chan<- int) {
	for i := 2; ; i++ {
		out <- i
	}
}

func filter(in <-chan int, out chan<- int, prime int) {
	for {
		if i := <-in; i%prime != 0 {
			out <- i
		}
	}
}

func main() {
	in := make(chan int)
	go generate(in)
	for i := 0; i < primes; i++ {
		prime := <-in
		fmt.Println(prime)
		out := make(chan int)
		go filter(in, out, prime)
		in = out
	}
}
