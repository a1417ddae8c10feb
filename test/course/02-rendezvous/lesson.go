// A ball goes to and fro between two goroutines. The one that has it may touch it.
package main

import "fmt"

type ball struct {
	hits int
}

func player(in, out chan *ball) {
	for i := 0; i < 3; i++ {
		b := <-in
		b.hits++
		out <- b
	}
}

func main() {
	there, back := make(chan *ball), make(chan *ball)
	go player(there, back)
	b := &ball{}
	for i := 0; i < 3; i++ {
		b.hits++
		fmt.Println("main:", b.hits)
		there <- b
		b = <-back
		fmt.Println("player:", b.hits)
	}
}
