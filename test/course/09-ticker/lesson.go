// Messages, heartbeats and a deadline in one loop. Then a silence, which a time-out ends.
package main

import (
	"fmt"
	"time"
)

func main() {
	in := make(chan int)
	go func() {
		for i := 1; i <= 5; i++ {
			in <- i
		}
	}()
	began := time.Now()
	heartbeat := time.NewTicker(10 * time.Millisecond)
	defer heartbeat.Stop()
	deadline := time.After(time.Minute) // for the whole loop, so it is made before
	messages, beats := 0, 0
	for messages < 5 || beats < 3 {
		tick := heartbeat.C
		if beats == 3 {
			tick = nil
		}
		select {
		case <-in:
			messages++
		case <-tick:
			beats++
		case <-deadline:
			fmt.Println("not in a minute")
			return
		}
	}
	fmt.Println(messages, "messages,", beats, "heartbeats")
	fmt.Println("less than 30 ms:", time.Since(began) < 30*time.Millisecond)
	select {
	case v := <-in:
		fmt.Println("one more:", v)
	case <-time.After(20 * time.Millisecond):
		fmt.Println("silence")
	}
}
