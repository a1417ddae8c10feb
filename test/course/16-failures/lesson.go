// Two clients. What a client does wrong it is told. What the disk does wrong is an error value, which
// goes up to the caller. A panic is for what neither of them can bring about.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// clientErr is told to the client. After a fatal one the connection is closed.
type clientErr struct {
	fatal bool
	text  string
}

func (e *clientErr) Error() string { return e.text }

func isValid(topic string) bool {
	return topic != "" && strings.Trim(topic, "abcdefghijklmnopqrstuvwxyz") == ""
}

// put fails for reasons of the disk.
func put(topic string) error {
	file, err := os.OpenFile("disk/"+topic, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

func publish(topic string) error {
	if !isValid(topic) {
		return &clientErr{true, fmt.Sprintf("E_BAD_TOPIC PUB topic name %q is not valid", topic)}
	}
	if err := put(topic); err != nil {
		return &clientErr{true, fmt.Sprintf("E_PUB_FAILED PUB failed %s", err)}
	}
	return nil
}

func exec(command string) error {
	name, param, _ := strings.Cut(command, " ")
	switch name {
	case "NOP":
		return nil
	case "FIN":
		return &clientErr{false, fmt.Sprintf("E_FIN_FAILED FIN %s failed ID not in flight", param)}
	case "PUB":
		return publish(param)
	}
	return &clientErr{true, "E_INVALID invalid command " + name}
}

func serve(commands []string, answers chan<- string) {
	defer close(answers)
	for _, command := range commands {
		err := exec(command)
		var e *clientErr
		switch {
		case err == nil:
			answers <- "OK"
		case !errors.As(err, &e) || e.text == "":
			panic("an error without a text for the client")
		default:
			answers <- e.text
			if e.fatal {
				return
			}
		}
	}
}

func main() {
	clients := [][]string{
		{"NOP", "FIN 7", "NOP", "PUB ord?rs", "NOP"},
		{"NOP", "PUB orders", "NOP"},
	}
	for i, commands := range clients {
		answers := make(chan string)
		go serve(commands, answers)
		for answer := range answers {
			fmt.Printf("client %d: %s\n", i, answer)
		}
	}
}
