// A store that is made once, a lock that each return gives back, and errors that say where.
package main

import (
	"fmt"
	"strings"
	"sync"
)

type store struct {
	lock   sync.Mutex
	values [26]int // 0: not set
}

var (
	theStore  *store
	storeOnce sync.Once
)

func getStore() *store {
	storeOnce.Do(func() {
		theStore = &store{}
		fmt.Println("the store is made")
	})
	return theStore
}

func isSetting(word string) bool {
	return len(word) == 3 && word[0] >= 'a' && word[0] <= 'z' && word[1] == '=' &&
		word[2] >= '1' && word[2] <= '9'
}

func (s *store) set(word string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if !isSetting(word) {
		return fmt.Errorf("%s is not NAME=DIGIT", word)
	}
	value := &s.values[word[0]-'a']
	if *value != 0 {
		return fmt.Errorf("%c is set already", word[0])
	}
	*value = int(word[2] - '0')
	return nil
}

func load(text string) error {
	s := getStore()
	for i, word := range strings.Fields(text) {
		if err := s.set(word); err != nil {
			return fmt.Errorf("word %d: %w", i+1, err)
		}
	}
	return nil
}

func main() {
	texts := []string{"a=1 b=2", "c=3 d4 e=5", "f=6 f=7"}
	errs := make([]error, len(texts))
	var wg sync.WaitGroup
	for i := range texts {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			if err := load(texts[i]); err != nil {
				errs[i] = fmt.Errorf("text %d: %w", i+1, err)
			}
		}(i)
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			fmt.Println(err)
		}
	}
	sum := 0
	for _, v := range getStore().values {
		sum += v
	}
	fmt.Println("sum", sum)
}
