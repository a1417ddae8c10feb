//go:build tools

// Package natsserver names the program that the benchmark builds, for go.mod's sake.
package natsserver

import _ "github.com/nats-io/nats-server/v2"
