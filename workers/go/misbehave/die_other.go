//go:build unix && !linux

package misbehave

// envRole is not used here: no function leaves processes behind.
const envRole = "RPCPOOL_MISBEHAVE"

// misbehaving is empty: only Linux lets a Go program die as a C program does.
func misbehaving() map[string]any { return nil }

func leftBehind(string) int { return 2 }
