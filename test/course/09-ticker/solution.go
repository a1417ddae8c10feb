// Receives several values, with one deadline for all of them.
package main

import (
	"fmt"
	"time"
)

// gather receives up to n values, within d for all of them together.
func gather(c chan int, n int, d time.Duration) (values []int) {
	deadline := time.After(d) // once, for all rounds
	for len(values) < n {
		select {
		case v, ok := <-c:
			if !ok {
				return values
			}
			values = append(values, v)
		case <-deadline:
			return append(values, waiting(c, n-len(values))...)
		}
	}
	return values
}

// waiting takes up to n of those that are in c now.
func waiting(c chan int, n int) (values []int) {
	for len(values) < n {
		select {
		case v, ok := <-c:
			if !ok {
				return values
			}
			values = append(values, v)
		default:
			return values
		}
	}
	return values
}

func main() {
	c := make(chan int, 5)
	for i := 1; i <= 5; i++ {
		c <- i
	}
	fmt.Println(len(gather(c, 2, time.Minute)))
	fmt.Println(len(gather(c, 5, 20*time.Millisecond)))
	close(c)
	fmt.Println(len(gather(c, 5, time.Minute)))
}
