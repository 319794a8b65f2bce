// The floor: a client in C that only reads. Opens SLOTS connections, runs REQUESTS requests over them in a closed
// loop, counts events by their frames, and prints: events, CPU seconds, wall seconds.
//
//   floor PORT SLOTS REQUESTS TOKENS
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
    if (count != 5) return 2;
    int port = atoi(arguments[1]), slots = atoi(arguments[2]), requests = atoi(arguments[3]);
    struct rlimit files = {8192, 8192};
    setrlimit(RLIMIT_NOFILE, &files);
    char body[256], request[512], data[65536];
    int length = snprintf(body, sizeof body, "{\"model\":\"fake\",\"max_tokens\":%s,\"messages\":[]}", arguments[4]);
    int size = snprintf(request, sizeof request,
                        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s", length, body);
    int poller = epoll_create1(0), started = 0, done = 0;
    int *fds = calloc((size_t)slots, sizeof *fds);
    for (int i = 0; i < slots; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int one = 1;
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(fds[i], (struct sockaddr *)&address, sizeof address)) { perror("connect"); return 1; }
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, fds[i], &event);
    }
    double cpu_s = seconds(CLOCK_PROCESS_CPUTIME_ID), wall_s = seconds(CLOCK_MONOTONIC);
    long events = 0;
    for (int i = 0; i < slots && started < requests; i++, started++) send(fds[i], request, (size_t)size, 0);
    struct epoll_event ready[256];
    while (done < requests) {
        int found = epoll_wait(poller, ready, 256, -1);
        for (int i = 0; i < found; i++) {
            ssize_t got = recv(ready[i].data.fd, data, sizeof data - 1, 0);
            if (got <= 0) return 1;
            data[got] = 0;
            for (char *at = data; (at = strstr(at, "\"delta\":{\"content\"")); at++) events++;
            if (!strstr(data, "\r\n0\r\n\r\n")) continue;
            done++;
            if (started < requests) { send(ready[i].data.fd, request, (size_t)size, 0); started++; }
        }
    }
    printf("%ld %.6f %.6f\n", events, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_s, seconds(CLOCK_MONOTONIC) - wall_s);
    return 0;
}
