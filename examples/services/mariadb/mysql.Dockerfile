# MySQL is not in Debian. This is MariaDB under MySQL's names: what a declaration for MySQL's public image says of its
# variables, arguments and folders is understood, and the protocol is the same.
ARG DEBIAN=bookworm
FROM debian:${DEBIAN}-slim

# The package makes a data directory of its own, which would be copied into every new volume.
RUN apt-get update \
    && apt-get install -y --no-install-recommends mariadb-server \
    && rm -rf /var/lib/apt/lists/* /var/lib/mysql

COPY server.cnf /etc/mysql/mariadb.conf.d/90-container.cnf
COPY entrypoint /usr/local/bin/
COPY mysql-entrypoint /usr/local/bin/docker-entrypoint.sh
RUN install -d -o mysql -g mysql /var/lib/mysql /run/mysqld \
    && install -d /docker-entrypoint-initdb.d

VOLUME /var/lib/mysql
EXPOSE 3306
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["mysqld"]
