// A model server with a known schedule, fast enough to be no bottleneck: one epoll thread, one send() per event.
//
//   fake_llm TTFT_MS ITL_MS STALL_EVERY STALL_MS [TTFT_STEP_MS [TOKENS_PER_CHUNK]]
//
// All streams step together every ITL_MS, as an engine's do. A stream starts with the first step at least TTFT_MS
// after its request came in (by the kernel's receive stamp); of 16 requests each waits TTFT_STEP_MS longer than the
// one before. Prints its port. GET /truth answers the log of the
// truth as text, a line a stream: when it was received, when it was read, and when each token was sent, in
// nanoseconds of CLOCK_MONOTONIC; and empties the log.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 8192, REQUEST_BYTES = 65536, MOST_TOKENS = 100000 };

typedef struct stream {
    int64_t received_ns, read_ns, due_ns;
    int tokens, chunks, sent;
    int64_t *sent_ns;
    struct stream *older;
} stream_t;

typedef struct {
    char request[REQUEST_BYTES];
    int used;
    int64_t received_ns;
    stream_t *stream;
} connection_t;

static connection_t *connections[MOST_CONNECTIONS];
static int highest = 0;
static stream_t *log_head = NULL;
static int64_t ttft_ns, itl_ns, stall_ns, step_ns, ttft_step_ns;
static int stall_every, tokens_per_chunk, requests;

static int64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// CLOCK_REALTIME - CLOCK_MONOTONIC, the best of three tries: between two readings another process may run.
static int64_t clocks_apart_ns(void) {
    int64_t best_ns = INT64_MAX, apart_ns = 0;
    for (int i = 0; i < 3; i++) {
        int64_t before = clock_ns(CLOCK_MONOTONIC), real = clock_ns(CLOCK_REALTIME), after = clock_ns(CLOCK_MONOTONIC);
        if (after - before >= best_ns) continue;
        best_ns = after - before;
        apart_ns = real - (before + after) / 2;
    }
    return apart_ns;
}

static void put(int fd, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent > 0) { bytes += sent; size -= (size_t)sent; }
        else if (errno != EAGAIN && errno != EINTR) return;
    }
}

static void put_event(int fd, const char *json) {
    char frame[1024];
    int length = (int)strlen(json) + 8;
    int size = snprintf(frame, sizeof frame, "%x\r\ndata: %s\n\n\r\n", length, json);
    put(fd, frame, (size_t)size);
}

static void answer(int fd, const char *kind, const char *body, size_t length) {
    char head[256];
    int size = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n", kind, length);
    put(fd, head, (size_t)size);
    put(fd, body, length);
}

static void tell_truth(int fd) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    while (log_head) {
        stream_t *each = log_head;
        fprintf(out, "%ld %ld", (long)each->received_ns, (long)each->read_ns);
        for (int i = 0; i < each->sent; i++) fprintf(out, " %ld", (long)each->sent_ns[i]);
        fputc('\n', out);
        log_head = each->older;
        free(each->sent_ns);
        free(each);
    }
    fclose(out);
    answer(fd, "text/plain", text, size);
    free(text);
}

static void begin(connection_t *connection, const char *body) {
    const char *asked = strstr(body, "\"max_tokens\":");
    int skip = 13;
    if (!asked) { asked = strstr(body, "\"max_completion_tokens\":"); skip = 24; }
    stream_t *stream = calloc(1, sizeof *stream);
    stream->tokens = asked ? atoi(asked + skip) : 16;
    if (stream->tokens < 1 || stream->tokens > MOST_TOKENS) stream->tokens = 16;
    stream->sent_ns = calloc((size_t)stream->tokens, sizeof(int64_t));
    stream->received_ns = connection->received_ns;
    stream->read_ns = clock_ns(CLOCK_MONOTONIC);
    stream->chunks = (stream->tokens + tokens_per_chunk - 1) / tokens_per_chunk;
    stream->due_ns = stream->received_ns + ttft_ns + requests++ % 16 * ttft_step_ns;
    stream->older = log_head;
    log_head = stream;
    connection->stream = stream;
}

static void take_request(int fd, connection_t *connection) {
    connection->request[connection->used] = 0;
    char *end = strstr(connection->request, "\r\n\r\n");
    if (!end) return;
    char *length = strcasestr(connection->request, "content-length:");
    int wanted = length && length < end ? atoi(length + 15) : 0;
    int have = connection->used - (int)(end + 4 - connection->request);
    if (have < wanted) return;
    static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"fake\",\"owned_by\":\"bench\"}]}";
    if (!strncmp(connection->request, "GET /v1/models", 14)) answer(fd, "application/json", models, sizeof models - 1);
    else if (!strncmp(connection->request, "GET /health", 11)) answer(fd, "text/plain", "", 0);
    else if (!strncmp(connection->request, "GET /truth", 10)) tell_truth(fd);
    else if (!strncmp(connection->request, "POST /v1/chat/completions", 25)) begin(connection, end + 4);
    else {
        static const char nothing[] = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        put(fd, nothing, sizeof nothing - 1);
    }
    connection->used = 0;
}

static void drop(int fd) {
    close(fd);
    free(connections[fd]);
    connections[fd] = NULL;
}

static void readable(int fd, int64_t offset_ns) {
    connection_t *connection = connections[fd];
    char control[128];
    struct iovec part = {connection->request + connection->used, (size_t)(REQUEST_BYTES - 1 - connection->used)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &message, 0);
    if (got <= 0) { drop(fd); return; }
    struct cmsghdr *stamp = CMSG_FIRSTHDR(&message);
    if (stamp && stamp->cmsg_level == SOL_SOCKET) {
        struct timespec when;
        memcpy(&when, CMSG_DATA(stamp), sizeof when);
        connection->received_ns = when.tv_sec * 1000000000LL + when.tv_nsec - offset_ns;
    } else connection->received_ns = clock_ns(CLOCK_MONOTONIC);
    connection->used += (int)got;
    take_request(fd, connection);
}

static void step(int64_t now_ns) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    for (int fd = 0; fd <= highest; fd++) {
        connection_t *connection = connections[fd];
        stream_t *stream = connection ? connection->stream : NULL;
        if (!stream || stream->due_ns > now_ns) continue;
        if (stream->sent == 0) {
            put(fd, head, sizeof head - 1);
            put_event(fd, "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1763942400,"
                          "\"model\":\"fake\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                          "\"logprobs\":null,\"finish_reason\":null}],\"prompt_token_ids\":null}");
        }
        char json[512];
        snprintf(json, sizeof json,
                 "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1763942400,"
                 "\"model\":\"fake\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word%04d\"},\"logprobs\":null,"
                 "\"finish_reason\":%s,\"token_ids\":null}]}",
                 stream->sent % 10000, stream->sent + 1 == stream->chunks ? "\"length\"" : "null");
        stream->sent_ns[stream->sent++] = clock_ns(CLOCK_MONOTONIC);
        put_event(fd, json);
        stream->due_ns = stall_every && stream->sent % stall_every == 0 ? now_ns + stall_ns : 0;
        if (stream->sent < stream->chunks) continue;
        snprintf(json, sizeof json,
                 "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1763942400,"
                 "\"model\":\"fake\",\"choices\":[],\"usage\":{\"prompt_tokens\":16,\"total_tokens\":%d,"
                 "\"completion_tokens\":%d}}", 16 + stream->tokens, stream->tokens);
        put_event(fd, json);
        put(fd, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", 24);
        connection->stream = NULL;
    }
}

static void accept_all(int listener, int poller) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= MOST_CONNECTIONS) { close(fd); continue; }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
        connections[fd] = calloc(1, sizeof(connection_t));
        if (fd > highest) highest = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int count, char **arguments) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); // it ends with the bench that started it
    ttft_ns = (int64_t)(atof(count > 1 ? arguments[1] : "200") * 1e6);
    itl_ns = (int64_t)(atof(count > 2 ? arguments[2] : "20") * 1e6);
    stall_every = atoi(count > 3 ? arguments[3] : "0");
    stall_ns = (int64_t)(atof(count > 4 ? arguments[4] : "0") * 1e6);
    ttft_step_ns = (int64_t)(atof(count > 5 ? arguments[5] : "0") * 1e6);
    tokens_per_chunk = atoi(count > 6 ? arguments[6] : "1");
    struct rlimit files = {MOST_CONNECTIONS, MOST_CONNECTIONS};
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) { perror("listen"); return 1; }
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    step_ns = clock_ns(CLOCK_MONOTONIC) + itl_ns;
    for (;;) {
        int64_t now_ns = clock_ns(CLOCK_MONOTONIC);
        if (now_ns >= step_ns) {
            step(now_ns);
            step_ns += itl_ns * (1 + (clock_ns(CLOCK_MONOTONIC) - step_ns) / itl_ns);
            now_ns = clock_ns(CLOCK_MONOTONIC);
        }
        int64_t left_ns = step_ns > now_ns ? step_ns - now_ns : 0;
        struct timespec left = {left_ns / 1000000000, left_ns % 1000000000};
        int found = epoll_pwait2(poller, ready, 256, &left, NULL);
        int64_t offset_ns = clocks_apart_ns();
        for (int i = 0; i < found; i++) {
            if (ready[i].data.fd == listener) accept_all(listener, poller);
            else if (connections[ready[i].data.fd]) readable(ready[i].data.fd, offset_ns);
        }
    }
}
