// A web server of another world, on the socket that it inherits.
const http = require("http");

const server = http.createServer((request, response) => response.end(`node ${process.pid}\n`));
server.listen({ fd: 3 });
process.on("SIGTERM", () => server.close(() => process.exit(0)));
