// One goroutine makes squares, two add them up, and close tells them that no more will come.
package main

import "fmt"

func makeSquares(out chan<- int) {
	for i := 1; i <= 100; i++ {
		out <- i * i
	}
	close(out)
}

func add(in <-chan int, sums chan<- int) {
	sum := 0
	for v := range in {
		sum += v
	}
	sums <- sum
}

func main() {
	squares, sums := make(chan int), make(chan int)
	go makeSquares(squares)
	go add(squares, sums)
	go add(squares, sums)
	fmt.Println(<-sums + <-sums)
	v, ok := <-squares
	fmt.Println(v, ok)
}
