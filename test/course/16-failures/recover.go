// What recover does, and what it does not. C has nothing like it.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
)

var (
	lock   sync.Mutex
	counts [3]int
)

func count(i int) {
	lock.Lock()
	counts[i]++ // panics with i = 3, and the lock stays locked
	lock.Unlock()
}

func serve(i int) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("recovered: %v", r)
		}
	}()
	count(i)
	return nil
}

func main() {
	if len(os.Args) > 1 { // the child: a panic in another goroutine
		defer func() { fmt.Println("never printed", recover()) }()
		var wg sync.WaitGroup
		wg.Add(1)
		go count(3)
		wg.Wait()
	}
	fmt.Println(serve(2))
	fmt.Println(serve(3))
	fmt.Println("the lock is free:", lock.TryLock())
	fmt.Println("the child:", exec.Command(os.Args[0], "child").Run())
}
