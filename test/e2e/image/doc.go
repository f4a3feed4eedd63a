// Command image (rpcpool-e2e) is the program of the image that the end-to-end tests
// put on nodes. It is a static binary, because nodes get it without a registry:
//
//	rpcpool-e2e pause              the sandbox of every pod: PID 1, which reaps and waits
//	rpcpool-e2e faults …           finds and kills the processes of a container
//	rpcpool-e2e deviceplugin …     offers RDMA devices that are not there
//	rpcpool-e2e visit …            is a client, and tells what it meets
//
// Beside it, in the same image, is rpcpool-e2e-dra (dradriver), which offers them by claims.
//
// Packages faults, deviceplugin, sysfs and visit have the rest. Answers are JSON on
// stdout, the log is on stderr. Exit status: 0 done, 1 failed, 2 wrong usage.
//
// A crash loses nothing: what lasts is in files of the node.
package main
