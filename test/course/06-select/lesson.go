// Two producers, and one receiver that takes from whichever has something.
package main

import "fmt"

func producer(out chan int, first int) {
	for i := 0; i < 10; i++ {
		out <- first + i
	}
}

func main() {
	units, hundreds, exitChan := make(chan int), make(chan int), make(chan int)
	go producer(units, 1)
	go producer(hundreds, 100)
	sums := [2]int{}
	for i := 0; i < 20; i++ {
		select {
		case v := <-units:
			sums[0] += v
		case v := <-hundreds:
			sums[1] += v
		case <-exitChan:
			fmt.Println("told to end")
			return
		}
	}
	fmt.Println(sums[0], sums[1])
}
