// Two chans become one. Each is switched off when it is closed.
package main

import "fmt"

func numbers(out chan int, from, to int) {
	for i := from; i <= to; i++ {
		out <- i
	}
	close(out)
}

func merge(a, b, out chan int) {
	for a != nil || b != nil {
		select {
		case v, ok := <-a:
			if !ok {
				a = nil // never ready again
				continue
			}
			out <- v
		case v, ok := <-b:
			if !ok {
				b = nil
				continue
			}
			out <- v
		}
	}
	close(out)
}

func main() {
	a, b, out := make(chan int), make(chan int), make(chan int)
	go numbers(a, 1, 3)
	go numbers(b, 10, 100)
	go merge(a, b, out)
	count, sum := 0, 0
	for v := range out {
		count++
		sum += v
	}
	fmt.Println(count, sum)
}
