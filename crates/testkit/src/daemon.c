/* A daemon that does nothing but map a library: processes that still run old code after an upgrade are found by that. */
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

const char *LIBRARY_version(void);

/* Tells systemd that the start has succeeded, if systemd asks for it. */
static void ready(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path) return;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + strlen(to.sun_path);
    if (to.sun_path[0] == '@') to.sun_path[0] = 0;
    int socket_ = socket(AF_UNIX, SOCK_DGRAM, 0);
    sendto(socket_, "READY=1", 7, 0, (struct sockaddr *)&to, length);
    close(socket_);
}

int main(void) {
    if (FAILS) {
        fprintf(stderr, "SERVICE: this version cannot start\n");
        return 1;
    }
    FILE *file = fopen("/run/SERVICE.version", "w");
    if (!file) return 2;
    fprintf(file, "%s %s\n", OWN_VERSION, LIBRARY_version());
    fclose(file);
    file = fopen("/run/SERVICE.pid", "w");
    if (!file) return 2;
    fprintf(file, "%d\n", (int)getpid());
    fclose(file);
    ready();
    for (;;) pause();
}
