// SPDX-License-Identifier: MIT

// Power series as processes: see powser1.c.
package main

import "fmt"

const terms = 10

type rat struct{ num, den int64 }

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	if a < 0 {
		return -a
	}
	return a
}

func mk(num, den int64) rat {
	if den < 0 {
		num, den = -num, -den
	}
	g := gcd(num, den)
	return rat{num / g, den / g}
}

func (a rat) add(b rat) rat { return mk(a.num*b.den+b.num*a.den, a.den*b.den) }
func (a rat) mul(b rat) rat { return mk(a.num*b.num, a.den*b.den) }

func (a rat) String() string {
	if a.den == 1 {
		return fmt.Sprint(a.num)
	}
	return fmt.Sprintf("%d/%d", a.num, a.den)
}

type series struct {
	req chan struct{}
	dat chan rat
}

func newSeries() *series {
	return &series{make(chan struct{}), make(chan rat)}
}

func (s *series) get() rat {
	s.req <- struct{}{}
	return <-s.dat
}

// put answers the next request.
func (s *series) put(r rat) {
	<-s.req
	s.dat <- r
}

// pass answers all further requests with what from gives.
func (s *series) pass(from *series) {
	for {
		<-s.req
		s.dat <- from.get()
	}
}

func ones() *series {
	out := newSeries()
	go func() {
		for {
			out.put(mk(1, 1))
		}
	}()
	return out
}

func add(f, g *series) *series {
	out := newSeries()
	go func() {
		for {
			<-out.req
			a := f.get()
			out.dat <- a.add(g.get())
		}
	}()
	return out
}

func scale(c rat, f *series) *series {
	out := newSeries()
	go func() {
		for {
			<-out.req
			out.dat <- c.mul(f.get())
		}
	}()
	return out
}

func shift(c rat, f *series) *series {
	out := newSeries()
	go func() {
		out.put(c)
		out.pass(f)
	}()
	return out
}

// split gives f twice. One side may run ahead, and while it waits for f the
// other must still get what is there: f may depend on that (exp). So all that
// can happen is one select, whose cases are switched on and off.
func split(f *series) (*series, *series) {
	out := [2]*series{newSeries(), newSeries()}
	go func() {
		var seen []rat
		var at [2]int
		var want [2]bool
		asked := false
		for {
			var req [2]chan struct{}
			var dat [2]chan rat
			var next [2]rat
			var ask chan struct{}
			var answer chan rat
			for i := range out {
				if !want[i] {
					req[i] = out[i].req
				} else if at[i] < len(seen) {
					dat[i], next[i] = out[i].dat, seen[at[i]]
				} else if asked {
					answer = f.dat
				} else {
					ask = f.req
				}
			}
			select {
			case <-req[0]:
				want[0] = true
			case <-req[1]:
				want[1] = true
			case dat[0] <- next[0]:
				want[0] = false
				at[0]++
			case dat[1] <- next[1]:
				want[1] = false
				at[1]++
			case ask <- struct{}{}:
				asked = true
			case r := <-answer:
				seen = append(seen, r)
				asked = false
			}
		}
	}()
	return out[0], out[1]
}

func mul(f, g *series) *series {
	out := newSeries()
	go func() {
		<-out.req
		f0, g0 := f.get(), g.get()
		out.dat <- f0.mul(g0)
		f1, f2 := split(f)
		g1, g2 := split(g)
		rest := add(add(scale(f0, g1), scale(g0, f1)), shift(mk(0, 1), mul(f2, g2)))
		out.pass(rest)
	}()
	return out
}

func deriv(f *series) *series {
	out := newSeries()
	go func() {
		<-out.req
		f.get()
		for n := int64(1); ; n++ {
			out.dat <- mk(n, 1).mul(f.get())
			<-out.req
		}
	}()
	return out
}

func integInto(out *series, c rat, f *series) {
	go func() {
		out.put(c)
		for n := int64(1); ; n++ {
			<-out.req
			out.dat <- mk(1, n).mul(f.get())
		}
	}()
}

func integ(c rat, f *series) *series {
	out := newSeries()
	integInto(out, c, f)
	return out
}

// exp is the solution of e' = f' e: what it gives is fed back to it.
func exp(f *series) *series {
	e := newSeries()
	out, back := split(e)
	integInto(e, mk(1, 1), mul(deriv(f), back))
	return out
}

// x is 0 + 1 x + 0 x^2 + ...
func x() *series {
	return shift(mk(0, 1), shift(mk(1, 1), scale(mk(0, 1), ones())))
}

func show(name string, s *series) {
	fmt.Print(name, ":")
	for i := 0; i < terms; i++ {
		fmt.Print(" ", s.get())
	}
	fmt.Println()
}

func main() {
	show("1/(1-x)", ones())
	show("1/(1-x)+1/(1-x)", add(ones(), ones()))
	show("1/(1-x)^2", mul(ones(), ones()))
	show("(1/(1-x))'", deriv(ones()))
	show("-log(1-x)", integ(mk(0, 1), ones()))
	show("exp(x)", exp(x()))
	show("exp(-log(1-x))", exp(integ(mk(0, 1), ones())))
	show("exp(x)^2", mul(exp(x()), exp(x())))
	show("exp(x/(1-x))", exp(shift(mk(0, 1), ones())))
}
