//go:build race

package client

const raced = true // the race detector makes everything slow
