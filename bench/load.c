/*
 * The load generator in C, for what asks so quickly that JavaScript would be measured along: libzmq's sockets, and
 * as little as possible around them. It asks and judges as generator.ts does: each body differs from the 4,095 before
 * it, each reply is compared with the body that it must be, and must answer a request that is under way at that very
 * socket. The figures are printed as JSON.
 *
 *     load ENDPOINT req|dealer WIDTH SIZE WARM_UP DURATION REQUESTS GRACE [SERVICE]
 *
 * Times are ms; 0 requests: without end. With a service, requests are those of 7/MDP.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/epoll.h>
#include <zmq.h>

#include "figures.h"

enum {
    /* Requests of a DEALER that are remembered; what is still open so many later is lost. */
    REMEMBERED = 1 << 20,
    /* Replies that are read before requests are sent again. */
    TURN = 64,
    MAX_CLIENTS = 10000,
};

/* A request under way. */
typedef struct {
    uint64_t sent_at; /* ns; 0: none is */
    uint32_t number;
} request_t;

typedef struct {
    void *socket;
    uint64_t sent;
    request_t current; /* of a REQ */
    uint64_t unnamed;  /* error replies that do not name their request */
} client_t;

static const char *endpoint;
/* What goes ahead of each body, and comes back ahead of each reply, of clients that speak Majordomo. */
static const char *titles[2];
static int title_count;
static bool is_req;
static client_t *clients;
static uint64_t client_count;
static request_t *under_way; /* of the DEALER, by number */
static uint64_t now, open_requests;

static void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

static void send_body(void *socket, uint32_t number)
{
    unsigned char *body = noise + number % SHIFTS, covered[NUMBER_BYTES];
    memcpy(covered, body, NUMBER_BYTES);
    put_number(body, number);
    if (zmq_send(socket, body, load.size, 0) == -1) fail("Cannot send");
    memcpy(body, covered, NUMBER_BYTES);
}

/* ---- requests and replies ---- */

static request_t *request_of(client_t *client, uint32_t number)
{
    return is_req ? &client->current : &under_way[number % REMEMBERED];
}

static void send_request(client_t *client)
{
    uint32_t number = (uint32_t) (client->sent++ * client_count + (uint64_t) (client - clients));
    request_t *request = request_of(client, number);
    if (request->sent_at != 0) {
        /* It was answered by an error, or never. */
        if (client->unnamed > 0) client->unnamed--;
        else missing++, open_requests--;
    }
    sent++;
    open_requests++;
    now = clock_now();
    request->number = number;
    request->sent_at = now;
    if (!is_req && zmq_send(client->socket, "", 0, ZMQ_SNDMORE) == -1) fail("Cannot send");
    for (int title = 0; title < title_count; title++) {
        size_t size = strlen(titles[title]);
        if (zmq_send(client->socket, titles[title], size, ZMQ_SNDMORE) == -1) fail("Cannot send");
    }
    send_body(client->socket, number);
}

/* Takes a reply of one frame. */
static void judge(client_t *client, const unsigned char *body, size_t size)
{
    if (size != load.size) {
        wrong++;
        return;
    }
    uint32_t number = number_of(body);
    uint64_t index = (uint64_t) (client - clients);
    request_t *request = request_of(client, number);
    if (request->sent_at == 0 || request->number != number) {
        bool is_own = number % client_count == index && number < client->sent * client_count;
        if (is_own) duplicates++;
        else wrong++;
        return;
    }
    uint64_t sent_at = request->sent_at;
    request->sent_at = 0;
    open_requests--;
    now = clock_now();
    if (is_body(body, number)) take_right(sent_at, now);
    else wrong++;
}

/* An error reply, "CODE message": which request of a DEALER it answers is not known. */
static void take_error(client_t *client, const char *text, size_t size)
{
    char code[8] = "";
    for (size_t at = 0; at < size && at < sizeof code - 1 && text[at] >= '0' && text[at] <= '9'; at++)
        code[at] = text[at];
    count_error(code);
    open_requests--;
    if (is_req) client->current.sent_at = 0;
    else client->unnamed++;
}

static bool is_title(zmq_msg_t *frame, int title)
{
    size_t size = strlen(titles[title]);
    return zmq_msg_size(frame) == size && memcmp(zmq_msg_data(frame), titles[title], size) == 0;
}

/* Reads one message; false when there is none. */
static bool read_reply(client_t *client, zmq_msg_t *frame)
{
    int state = is_req ? 1 : 0; /* 0: the delimiter is next; 1: the body is; 2: an error's text is */
    bool done = false;
    int title = 0;
    for (bool first = true;; first = false) {
        if (zmq_msg_recv(frame, client->socket, first ? ZMQ_DONTWAIT : 0) == -1) {
            if (first && (errno == EAGAIN || errno == EFSM)) return false;
            fail("Cannot receive");
        }
        size_t size = zmq_msg_size(frame);
        bool more = zmq_msg_more(frame) != 0;
        if (state == 0 && size == 0 && more) state = 1;
        else if (state == 1 && title < title_count && more && is_title(frame, title)) title++;
        else if (state == 1 && title == title_count && size == 0 && more) state = 2;
        else if (!done && !more && state > 0 && title == title_count) {
            if (state == 1) judge(client, zmq_msg_data(frame), size);
            else take_error(client, zmq_msg_data(frame), size);
            done = true;
        } else if (!done) {
            wrong++;
            done = true;
        }
        if (!more) return true;
    }
}

/* ---- sockets ---- */

static void *open_socket(void *context)
{
    const int unlimited = 0, none = 0;
    void *socket = zmq_socket(context, is_req ? ZMQ_REQ : ZMQ_DEALER);
    if (socket == NULL) fail("Cannot open a socket");
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    if (zmq_connect(socket, endpoint) == -1) fail("Cannot connect");
    return socket;
}

static bool waits(const client_t *client)
{
    return is_req ? client->current.sent_at != 0 : open_requests > 0;
}

/* Reads what is here and sends as much; until the socket has nothing more, as its descriptor tells news only once. */
static void serve(client_t *client, zmq_msg_t *frame)
{
    for (;;) {
        int read = 0;
        while (read < TURN && waits(client) && read_reply(client, frame)) read++;
        uint64_t room = is_req ? 1 : load.width;
        bool has_sent = false;
        while ((is_req ? !waits(client) : open_requests < room) && !is_over(now)) {
            send_request(client);
            has_sent = true;
        }
        if (read == 0 && !has_sent) return;
    }
}

static void run(void)
{
    struct epoll_event events[256];
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    for (uint64_t index = 0; index < client_count; index++) {
        struct epoll_event event = { .events = EPOLLIN, .data.u64 = index };
        int descriptor;
        size_t size = sizeof descriptor;
        zmq_getsockopt(clients[index].socket, ZMQ_FD, &descriptor, &size);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event) == -1) fail("epoll_ctl");
    }
    for (uint64_t index = 0; index < client_count; index++) serve(&clients[index], &frame);
    uint64_t over_at = 0;
    for (;;) {
        now = clock_now();
        if (is_over(now) && over_at == 0) over_at = now;
        if (over_at > 0 && (open_requests == 0 || now >= over_at + load.grace)) break;
        int ready = epoll_wait(poll, events, sizeof events / sizeof events[0], 20);
        now = clock_now();
        for (int index = 0; index < ready; index++) serve(&clients[events[index].data.u64], &frame);
    }
    zmq_msg_close(&frame);
}

int main(int count, char **arguments)
{
    if (count < 9 || count > 10) {
        fputs("usage: load ENDPOINT req|dealer WIDTH SIZE WARM_UP DURATION REQUESTS GRACE [SERVICE]\n", stderr);
        return 2;
    }
    if (count == 10) {
        titles[title_count++] = "MDPC01";
        titles[title_count++] = arguments[9];
    }
    endpoint = arguments[1];
    is_req = strcmp(arguments[2], "req") == 0;
    bool is_valid = read_load(arguments + 3);
    client_count = is_req ? load.width : 1;
    if (!is_valid || client_count > MAX_CLIENTS) {
        fputs("load: WIDTH must be from 1 to 10,000 and SIZE at least 4\n", stderr);
        return 2;
    }
    void *context = zmq_ctx_new();
    zmq_ctx_set(context, ZMQ_MAX_SOCKETS, MAX_CLIENTS + 1);
    clients = calloc(client_count, sizeof *clients);
    under_way = is_req ? NULL : calloc(REMEMBERED, sizeof *under_way);
    if (clients == NULL || (!is_req && under_way == NULL) || !make_noise()) fail("calloc");
    for (uint64_t index = 0; index < client_count; index++) clients[index].socket = open_socket(context);
    now = clock_now();
    run();
    missing += open_requests;
    print_figures();
    for (uint64_t index = 0; index < client_count; index++) zmq_close(clients[index].socket);
    zmq_ctx_term(context);
    return 0;
}
