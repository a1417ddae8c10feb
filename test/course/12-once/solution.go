// What a file has at its beginning, or why it cannot be read.
package main

import (
	"fmt"
	"io"
	"os"
)

func load(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 100))
	if err != nil && err != io.EOF {
		return 0, err
	}
	return n, nil
}

func main() {
	for _, path := range []string{"/dev/null", "/no/such/file", "/"} {
		n, err := load(path)
		if err != nil {
			fmt.Println(fmt.Errorf("cannot load: %w", err))
		} else {
			fmt.Println(n, "bytes")
		}
	}
}
