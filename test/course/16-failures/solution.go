// A group that waits for its goroutines, and returns the error of the first one that failed.
package main

import (
	"fmt"
	"os"
	"sync"
)

// group is errgroup.Group of golang.org/x/sync, without a context.
type group struct {
	wg   sync.WaitGroup
	once sync.Once
	err  error
}

func (g *group) run(fn func() error) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		if err := fn(); err != nil {
			g.once.Do(func() { g.err = err })
		}
	}()
}

func (g *group) wait() error {
	g.wg.Wait()
	return g.err
}

func save(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(text)
	return err
}

func main() {
	var g group
	for _, part := range [][2]string{
		{"/dev/null", "first"}, {"/dev/full", "second"}, {"/dev/null", "third"},
	} {
		part := part
		g.run(func() error { return save(part[0], part[1]) })
	}
	if err := g.wait(); err != nil {
		fmt.Println("not saved:", err)
		return
	}
	fmt.Println("saved")
}
