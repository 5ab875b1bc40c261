//go:build netnslong

package main

func init() { killRounds = 20 }
