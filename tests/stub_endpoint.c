#include "stub_endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 256
#define MOST_REQUEST     ((size_t)1 << 20)
#define MOST_RULES       64

typedef struct {
    char *bytes; /* header and body, NUL behind */
    size_t n, n_header, n_body;
} request;

struct stub_endpoint {
    stub_options options;
    int listener, port;
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    volatile bool stop;
    pthread_t threads[MOST_CONNECTIONS];
    int sockets[MOST_CONNECTIONS];
    int n_connections, n_now;
    int met[MOST_RULES];
    stub_seen seen;
    char **bodies;
    int n_bodies;
};

typedef struct {
    stub_endpoint *stub;
    int index, socket;
} connection;

static void sleep_ms(stub_endpoint *s, int ms)
{
    for (; ms > 0 && !s->stop; ms -= 5)
        nanosleep(&(struct timespec){0, (ms < 5 ? ms : 5) * 1000000L}, NULL);
}

static bool send_all(int socket, const char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t sent = send(socket, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* --- a request --- */

/* One header's value as it stands; false where it is not there. */
static bool header_of(char *out, size_t room, const request *r, const char *name)
{
    const char *end = r->bytes + r->n_header;

    for (const char *at = strstr(r->bytes, "\r\n"); at && at + 2 < end;
         at = strstr(at + 2, "\r\n")) {
        const size_t n = strlen(name);
        if (strncasecmp(at + 2, name, n) != 0 || at[2 + n] != ':')
            continue;
        const char *value = at + 3 + n + strspn(at + 3 + n, " ");
        snprintf(out, room, "%.*s", (int)strcspn(value, "\r"), value);
        return true;
    }
    return false;
}

/* The next request of a connection, which may have come with the one before. */
static bool read_request(int socket, request *r)
{
    char length[32];

    r->n = r->n_header = r->n_body = 0;
    for (;;) {
        const ssize_t got = recv(socket, r->bytes + r->n, MOST_REQUEST - 1 - r->n, 0);
        if (got <= 0)
            return false;
        r->n += (size_t)got;
        r->bytes[r->n] = '\0';
        const char *end = strstr(r->bytes, "\r\n\r\n");
        if (!end)
            continue;
        r->n_header = (size_t)(end - r->bytes) + 2;
        r->n_body =
            header_of(length, sizeof length, r, "Content-Length") ? strtoul(length, NULL, 10) : 0;
        if (r->n >= r->n_header + 2 + r->n_body)
            return true;
    }
}

static const char *body_of(const request *r)
{
    return r->bytes + r->n_header + 2;
}

/* --- an answer --- */

/* The label behind "say: " in the question, up to the end of its JSON string. */
static void asked_for(char *out, size_t room, const request *r, const char *otherwise)
{
    const char *at = strstr(body_of(r), "say: ");

    if (at)
        snprintf(out, room, "%.*s", (int)strcspn(at + 5, "\"\\"), at + 5);
    else
        snprintf(out, room, "%s", otherwise ? otherwise : "unknown");
}

static char *make_body(const stub_endpoint *s, const stub_rule *rule, const request *r)
{
    const size_t room = 65536 + (rule->body ? strlen(rule->body) : 0) + rule->padding;
    char *body = malloc(room), said[4096], key[4096] = "";
    size_t n;

    header_of(key, sizeof key, r, "Authorization");
    asked_for(said, sizeof said, r, s->options.content);
    if (rule->echo_key)
        n = (size_t)snprintf(body, room, "{\"error\": {\"message\": \"wrong header %s; go away\"}}",
                             key);
    else if (rule->body)
        n = (size_t)snprintf(body, room, "%s", rule->body);
    else
        n = (size_t)snprintf(
            body, room,
            "{\"id\": \"stub\", \"object\": \"chat.completion\", \"choices\": [{\"index\": 0, "
            "\"message\": {\"role\": \"assistant\", \"content\": %s%s%s%s%s}, "
            "\"finish_reason\": \"%s\"}]%s}",
            rule->raw_string ? "" : "\"", rule->content ? rule->content : said,
            rule->raw_string ? "" : "\"", rule->message ? ", " : "",
            rule->message ? rule->message : "", rule->finish ? rule->finish : "stop",
            rule->no_usage ? ""
                           : ", \"usage\": {\"prompt_tokens\": 100, \"completion_tokens\": 3}");
    memset(body + n, ' ', rule->padding);
    body[n + rule->padding] = '\0';
    return body;
}

static bool send_chunked(int socket, const char *body, size_t n)
{
    char head[32];
    bool good = true;

    for (size_t at = 0; at < n && good; at += 7) {
        const size_t m = n - at < 7 ? n - at : 7;
        snprintf(head, sizeof head, "%zx\r\n", m);
        good = send_all(socket, head, strlen(head)) && send_all(socket, body + at, m) &&
               send_all(socket, "\r\n", 2);
    }
    return good && send_all(socket, "0\r\n\r\n", 5);
}

/* false: the connection ends. */
static bool answer(stub_endpoint *s, int socket, const stub_rule *rule, const request *r)
{
    char *body = make_body(s, rule, r), head[2048];
    const size_t whole = strlen(body), n = whole > rule->cut ? whole - rule->cut : 0;
    bool good;

    if (rule->chunked)
        snprintf(head, sizeof head, "HTTP/1.1 %d Stub\r\nTransfer-Encoding: chunked\r\n%s\r\n",
                 rule->status ? rule->status : 200, rule->headers ? rule->headers : "");
    else
        snprintf(head, sizeof head, "HTTP/1.1 %d Stub\r\nContent-Length: %zu\r\n%s%s\r\n",
                 rule->status ? rule->status : 200, rule->short_sent ? whole : n,
                 rule->close ? "Connection: close\r\n" : "", rule->headers ? rule->headers : "");
    good = send_all(socket, head, strlen(head)) &&
           (rule->chunked ? send_chunked(socket, body, n) : send_all(socket, body, n));
    free(body);
    return good && !rule->close && !rule->short_sent;
}

/* The first rule that fits and is not used up. Locked. */
static stub_rule choose_rule(stub_endpoint *s, const request *r)
{
    for (int i = 0; i < s->options.n_rules && i < MOST_RULES; i++) {
        const stub_rule *rule = &s->options.rules[i];
        if (rule->contains && !strstr(body_of(r), rule->contains))
            continue;
        const int number = s->met[i]++;
        if (number >= rule->from && (rule->n == 0 || number < rule->from + rule->n))
            return *rule;
    }
    return (stub_rule){0};
}

/* Waits until enough requests are there at once. Locked. */
static void meet(stub_endpoint *s)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    pthread_cond_broadcast(&s->changed);
    while (!s->stop && s->seen.n_most < s->options.n_together)
        if (pthread_cond_timedwait(&s->changed, &s->lock, &until) != 0)
            return;
}

static stub_rule note_request(stub_endpoint *s, const request *r)
{
    char key[4096] = "", wanted[4200];
    const bool has_key = header_of(key, sizeof key, r, "Authorization");

    pthread_mutex_lock(&s->lock);
    s->seen.n_requests++;
    s->seen.n_with_key += has_key;
    s->n_now++;
    s->seen.n_most = s->n_now > s->seen.n_most ? s->n_now : s->seen.n_most;
    snprintf(s->seen.last, sizeof s->seen.last, "%s", body_of(r));
    const char *path = r->bytes + strcspn(r->bytes, " ") + 1;
    snprintf(s->seen.path, sizeof s->seen.path, "%.*s", (int)strcspn(path, " "), path);
    char **grown = realloc(s->bodies, (size_t)(s->n_bodies + 1) * sizeof *grown);
    if (grown) {
        s->bodies = grown;
        s->bodies[s->n_bodies++] = strdup(body_of(r));
    }
    stub_rule rule = choose_rule(s, r);
    meet(s);
    pthread_mutex_unlock(&s->lock);
    snprintf(wanted, sizeof wanted, "Bearer %s", s->options.key ? s->options.key : "");
    if (s->options.key && strcmp(key, wanted) != 0)
        rule = (stub_rule){.status = 401, .body = "{\"error\": {\"message\": \"no such key\"}}"};
    return rule;
}

/* GET: how many requests there were, for scripts that watch. */
static bool answer_get(stub_endpoint *s, int socket)
{
    char text[128], body[32];

    pthread_mutex_lock(&s->lock);
    snprintf(body, sizeof body, "%d\n", s->seen.n_requests);
    pthread_mutex_unlock(&s->lock);
    snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    return send_all(socket, text, strlen(text));
}

static void wait_for_end(stub_endpoint *s, int socket)
{
    char byte;

    while (!s->stop && recv(socket, &byte, 1, 0) > 0)
        continue;
}

static void *serve(void *context)
{
    connection c = *(connection *)context;
    stub_endpoint *s = c.stub;
    request r = {.bytes = malloc(MOST_REQUEST)};
    bool more = r.bytes != NULL;

    free(context);
    while (more && read_request(c.socket, &r)) {
        if (strncmp(r.bytes, "GET ", 4) == 0) {
            more = answer_get(s, c.socket);
            continue;
        }
        const stub_rule rule = note_request(s, &r);
        sleep_ms(s, s->options.delay_ms + rule.delay_ms);
        if (rule.silent)
            wait_for_end(s, c.socket);
        /* Before it is sent: who has the answer may ask again at once. */
        pthread_mutex_lock(&s->lock);
        s->n_now--;
        pthread_mutex_unlock(&s->lock);
        if (rule.reset)
            setsockopt(c.socket, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
                       sizeof(struct linger));
        more = !rule.reset && !rule.silent && answer(s, c.socket, &rule, &r);
    }
    free(r.bytes);
    pthread_mutex_lock(&s->lock);
    close(c.socket);
    s->sockets[c.index] = -1;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* --- the server --- */

static void *accept_all(void *context)
{
    stub_endpoint *s = context;

    for (;;) {
        const int socket = accept(s->listener, NULL, NULL);
        if (socket < 0)
            return NULL;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        pthread_mutex_lock(&s->lock);
        connection *c = malloc(sizeof *c);
        const int index = s->n_connections;
        bool good = c && !s->stop && index < MOST_CONNECTIONS;
        if (good) {
            *c = (connection){.stub = s, .index = index, .socket = socket};
            s->sockets[index] = socket;
            good = pthread_create(&s->threads[index], NULL, serve, c) == 0;
        }
        s->n_connections += good;
        s->seen.n_connected += good;
        pthread_mutex_unlock(&s->lock);
        if (!good) {
            free(c);
            close(socket);
        }
    }
}

bool stub_endpoint_open(stub_endpoint **out, const stub_options *options)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    stub_endpoint *s = calloc(1, sizeof *s);

    *out = NULL;
    if (!s)
        return false;
    s->options = *options;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(s->listener, MOST_CONNECTIONS) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&at, &n) != 0 ||
        pthread_create(&s->acceptor, NULL, accept_all, s) != 0) {
        if (s->listener >= 0)
            close(s->listener);
        free(s);
        return false;
    }
    s->port = ntohs(at.sin_port);
    *out = s;
    return true;
}

void stub_endpoint_close(stub_endpoint *stub)
{
    stub_endpoint *s = stub;

    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->changed);
    for (int i = 0; i < s->n_connections; i++)
        if (s->sockets[i] >= 0)
            shutdown(s->sockets[i], SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->acceptor, NULL);
    close(s->listener);
    for (int i = 0; i < s->n_connections; i++)
        pthread_join(s->threads[i], NULL);
    for (int i = 0; i < s->n_bodies; i++)
        free(s->bodies[i]);
    free(s->bodies);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int stub_endpoint_port(const stub_endpoint *stub)
{
    return stub->port;
}

void stub_endpoint_seen(stub_endpoint *stub, stub_seen *out)
{
    pthread_mutex_lock(&stub->lock);
    *out = stub->seen;
    pthread_mutex_unlock(&stub->lock);
}

int stub_endpoint_count(stub_endpoint *stub, const char *text)
{
    int n = 0;

    pthread_mutex_lock(&stub->lock);
    for (int i = 0; i < stub->n_bodies; i++)
        n += stub->bodies[i] && strstr(stub->bodies[i], text);
    pthread_mutex_unlock(&stub->lock);
    return n;
}
