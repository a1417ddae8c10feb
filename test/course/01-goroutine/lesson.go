// Five greetings, each by a goroutine of its own. main waits for all of them.
package main

import (
	"fmt"
	"sync"
)

var greetings [5]string

func greet(i int) {
	greetings[i] = fmt.Sprintf("hello from %d", i)
}

func main() {
	var wg sync.WaitGroup
	for i := 0; i < 5; i++ {
		i := i // a variable for each turn, as from Go 1.22 on
		wg.Add(1)
		go func() {
			defer wg.Done()
			greet(i)
		}()
	}
	wg.Wait()
	for _, g := range greetings {
		fmt.Println(g)
	}
}
