// A queue with room for three. What goes in first comes out first.
package main

import "fmt"

func producer(c chan int, done chan bool) {
	for i := 1; i <= 10; i++ {
		c <- i
	}
	done <- true
}

func main() {
	c := make(chan int, 3)
	for i := 1; i <= 3; i++ {
		c <- i * 100 // there is room: nobody has to receive yet
		fmt.Println("len", len(c), "cap", cap(c))
	}
	done := make(chan bool)
	go producer(c, done)
	for i := 0; i < 13; i++ {
		fmt.Println(<-c)
	}
	<-done
	fmt.Println("len", len(c), "cap", cap(c))
}
