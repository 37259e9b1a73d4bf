// A web server on an inherited socket: its descriptor is the first argument.
const http = require("http");

const server = http.createServer((request, response) => response.end(`node ${process.pid}\n`));
server.listen({ fd: Number(process.argv[2]) });
process.on("SIGTERM", () => server.close(() => process.exit(0)));
