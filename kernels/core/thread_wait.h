// How OpenMP's threads wait for one another: asleep.
//
// GNU's OpenMP lets them spin for some milliseconds at every barrier. That is only good on a
// machine with nothing else to do: with one other busy process the threads that wait take the core
// from the one that works, and decoding became fifteen times slower (2 cores, SmolLM2, load 14: 0.6
// tokens/s spinning, 8 asleep). The library reads its environment before main, so it is set by
// starting the program again.
#ifndef VMA_THREAD_WAIT_H
#define VMA_THREAD_WAIT_H

// First thing in main: starts the program again with OMP_WAIT_POLICY=passive, unless the
// environment says how to wait (OMP_WAIT_POLICY or GOMP_SPINCOUNT). Returns when there is nothing
// to do or it cannot be done.
void thread_wait_asleep(char **argv);

#endif
