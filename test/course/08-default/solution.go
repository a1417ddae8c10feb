// A chan that keeps the three newest values: a sender that finds it full drops the oldest.
package main

import "fmt"

type reading struct {
	value int
}

// putNewest never waits. It returns how many older values it has dropped.
func putNewest(c chan *reading, r *reading) (dropped int) {
	for {
		select {
		case c <- r:
			return dropped
		default:
		}
		select {
		case <-c:
			dropped++
		default: // a receiver was faster: there is room now
		}
	}
}

func main() {
	c := make(chan *reading, 3)
	dropped := 0
	for i := 1; i <= 10; i++ {
		dropped += putNewest(c, &reading{i})
	}
	fmt.Println("dropped", dropped)
	for {
		select {
		case r := <-c:
			fmt.Println(r.value)
		default:
			return
		}
	}
}
