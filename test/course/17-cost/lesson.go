// Hand-overs are counted: there and back, one by one, and in batches.
package main

import "fmt"

func echo(in, back chan int) {
	for v := range in {
		back <- v
	}
	close(back)
}

// thereAndBack returns how often a value went from one goroutine to the other.
func thereAndBack(rounds int) int {
	there, back := make(chan int), make(chan int)
	go echo(there, back)
	handOvers := 0
	for i := 0; i < rounds; i++ {
		there <- i
		handOvers++
		<-back
		handOvers++
	}
	close(there)
	<-back
	return handOvers
}

func produce(out chan []int, values, batch int) {
	for i := 0; i < values; i += batch {
		b := make([]int, batch)
		for k := range b {
			b[k] = i + k
		}
		out <- b
	}
	close(out)
}

// stream returns the sum of the values, and how often some of them were handed over.
func stream(values, batch int) (sum, handOvers int) {
	c := make(chan []int)
	go produce(c, values, batch)
	for b := range c {
		handOvers++
		for _, v := range b {
			sum += v
		}
	}
	return sum, handOvers
}

func main() {
	fmt.Println("1000 rounds there and back:", thereAndBack(1000), "hand-overs")
	for _, batch := range []int{1, 50} {
		sum, handOvers := stream(1000, batch)
		fmt.Printf("1000 values by %d: %d hand-overs, sum %d\n", batch, handOvers, sum)
	}
}
