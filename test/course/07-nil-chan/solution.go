// A pump that takes one value at a time, and takes the next one only when that is delivered.
package main

import "fmt"

func pump(in, out chan int) {
	var deliver chan int // nil: there is nothing to deliver
	var v int
	for in != nil || deliver != nil {
		from := in
		if deliver != nil {
			from = nil // its hands are full
		}
		select {
		case got, ok := <-from:
			if ok {
				v, deliver = got, out
			} else {
				in = nil
			}
		case deliver <- v:
			deliver = nil
		}
	}
	close(out)
}

func main() {
	in, out := make(chan int, 5), make(chan int)
	for i := 1; i <= 5; i++ {
		in <- i
	}
	close(in)
	go pump(in, out)
	for v := range out {
		fmt.Println(v)
	}
}
