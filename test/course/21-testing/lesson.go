// A test that waits for a condition: a server answers first, and counts a moment later.
package main

import (
	"fmt"
	"sync"
	"time"
)

type server struct {
	asked, answers chan int
	lock           sync.Mutex
	served         int
}

func (s *server) run() {
	for v := range s.asked {
		s.answers <- v * v
		s.lock.Lock()
		s.served++
		s.lock.Unlock()
	}
}

func (s *server) count() int {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.served
}

// waitFor looks again and again until the condition holds. Only a test that fails waits to the end.
func waitFor(cond func() bool, patience time.Duration) bool {
	end := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(time.Millisecond / 4)
	}
	return true
}

func main() {
	var wg sync.WaitGroup
	s := &server{asked: make(chan int), answers: make(chan int)}
	wg.Add(1)
	go func() {
		defer wg.Done()
		s.run()
	}()
	for v := 1; v <= 3; v++ {
		s.asked <- v
		fmt.Println(<-s.answers)
	}
	// The third answer is here. The third count may not be.
	fmt.Println("3 are counted:", waitFor(func() bool { return s.count() == 3 }, time.Minute))
	fmt.Println("4 are counted:", waitFor(func() bool { return s.count() == 4 }, time.Second/50))
	close(s.asked)
	wg.Wait()
}
